// Classify files and print the answer: java Classify.java URL FILE...
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;

public class Classify {
    private static final Set<Integer> WORTH_REPEATING = Set.of(429, 502, 503, 504);
    private static final HttpClient HTTP = HttpClient.newBuilder()
        .version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(5)).build();

    static HttpResponse<String> classify(String url, List<String> files) throws IOException, InterruptedException {
        String boundary = UUID.randomUUID().toString();
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        for (String file : files) {
            body.writeBytes(("--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; "
                + "filename=\"image\"\r\n\r\n").getBytes(StandardCharsets.US_ASCII));
            body.writeBytes(Files.readAllBytes(Path.of(file)));
            body.writeBytes("\r\n".getBytes(StandardCharsets.US_ASCII));
        }
        body.writeBytes(("--" + boundary + "--\r\n").getBytes(StandardCharsets.US_ASCII));
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url + "/classify"))
            .timeout(Duration.ofSeconds(60))
            .header("Content-Type", "multipart/form-data; boundary=" + boundary)
            .POST(HttpRequest.BodyPublishers.ofByteArray(body.toByteArray()));
        String key = System.getenv("HAL_API_KEY");
        if (key != null) {
            request.header("Authorization", "Bearer " + key);
        }
        for (int attempt = 0; ; attempt++) {
            double wait = 0;
            try {
                HttpResponse<String> answer = HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
                if (!WORTH_REPEATING.contains(answer.statusCode()) || attempt == 5) {
                    return answer;
                }
                wait = answer.headers().firstValue("Retry-After").map(Double::parseDouble).orElse(0.0);
            } catch (IOException error) {
                if (attempt == 5) {
                    throw error;
                }
            }
            double jitter = ThreadLocalRandom.current().nextDouble(0.1, 0.3) * (1 << attempt);
            Thread.sleep((long) (1000 * (wait + jitter)));
        }
    }

    public static void main(String[] arguments) throws Exception {
        List<String> files = Arrays.asList(arguments).subList(1, arguments.length);
        HttpResponse<String> answer = classify(arguments[0], files);
        System.out.println(answer.body());
        // 200: look for "error" in each result; 422: every result has one; else the body has one "error" for all.
        System.exit(answer.statusCode() == 200 ? 0 : 1);
    }
}
