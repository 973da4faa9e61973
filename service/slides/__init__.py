"""The cells of a slide together: saved results and FHIR."""
