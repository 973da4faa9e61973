// Classify files. With Mono: mcs Classify.cs -r:System.Net.Http.dll -r:System.Runtime.Serialization.dll
// mono Classify.exe URL FILE...
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Runtime.Serialization;
using System.Runtime.Serialization.Json;
using System.Threading.Tasks;

[DataContract]
class Answer
{
    [DataMember(Name = "results")] public List<Result> Results { get; set; }
    [DataMember(Name = "error")] public Fault Error { get; set; }
}

[DataContract]
class Result
{
    [DataMember(Name = "index")] public int Index { get; set; }
    [DataMember(Name = "class_id")] public string ClassId { get; set; }
    [DataMember(Name = "class_name")] public string ClassName { get; set; }
    [DataMember(Name = "hairy_cell")] public HairyCell HairyCell { get; set; }
    [DataMember(Name = "error")] public Fault Error { get; set; }
}

[DataContract]
class HairyCell
{
    /// <summary>null: the model cannot tell, which is not "no".</summary>
    [DataMember(Name = "flag")] public bool? Flag { get; set; }
}

[DataContract]
class Fault
{
    [DataMember(Name = "code")] public string Code { get; set; }
    [DataMember(Name = "message")] public string Message { get; set; }
}

static class Classify
{
    static readonly int[] WorthRepeating = { 429, 502, 503, 504 };
    static readonly Random Chance = new Random();

    static int Main(string[] args) => Run(args).GetAwaiter().GetResult();

    static async Task<int> Run(string[] args)
    {
        string[] files = args.Skip(1).ToArray();
        using (var http = new HttpClient { BaseAddress = new Uri(args[0]), Timeout = TimeSpan.FromSeconds(60) })
        {
            if (Environment.GetEnvironmentVariable("HAL_API_KEY") is string key)
            {
                http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
            }
            using (HttpResponseMessage response = await Post(http, files))
            using (Stream body = await response.Content.ReadAsStreamAsync())
            {
                var answer = (Answer)new DataContractJsonSerializer(typeof(Answer)).ReadObject(body);
                if (answer.Results == null)
                {
                    Console.Error.WriteLine($"{(int)response.StatusCode} {answer.Error.Code}: {answer.Error.Message}");
                    return 1;
                }
                foreach (Result result in answer.Results)
                {
                    Console.WriteLine(result.Error != null
                        ? $"{files[result.Index]} {result.Error.Code} {result.Error.Message}"
                        : $"{files[result.Index]} {result.ClassName} {result.HairyCell.Flag?.ToString() ?? "not known"}");
                }
                return 0;
            }
        }
    }

    static async Task<HttpResponseMessage> Post(HttpClient http, string[] files)
    {
        for (int attempt = 0; ; attempt++)
        {
            TimeSpan wait = TimeSpan.Zero;
            try
            {
                using (var form = new MultipartFormDataContent())
                {
                    foreach (string file in files)
                    {
                        form.Add(new ByteArrayContent(File.ReadAllBytes(file)), "file", "image");
                    }
                    HttpResponseMessage response = await http.PostAsync("/classify", form);
                    if (!WorthRepeating.Contains((int)response.StatusCode) || attempt == 5)
                    {
                        return response;
                    }
                    wait = response.Headers.RetryAfter?.Delta ?? TimeSpan.Zero;
                    response.Dispose();
                }
            }
            catch (Exception error) when (attempt < 5 && (error is HttpRequestException || error is TaskCanceledException))
            {
            }
            await Task.Delay(wait + TimeSpan.FromSeconds((0.1 + 0.2 * Chance.NextDouble()) * (1 << attempt)));
        }
    }
}
