// The API reference: Swagger UI on this service's OpenAPI document.

window.SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger", deepLinking: true, validatorUrl: null });
