"""Classify files with the standard library alone: ``python classify_stdlib.py URL FILE...``."""

import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid


def classify(url, files, attempts=6):
    boundary = uuid.uuid4().hex
    body = b""
    for file in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n\r\n'
        with open(file, "rb") as stream:
            body += head.encode() + stream.read() + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    if "HAL_API_KEY" in os.environ:
        headers["Authorization"] = f"Bearer {os.environ['HAL_API_KEY']}"
    for attempt in range(attempts):
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/classify", body, headers), timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 422:
                return json.load(error)
            if error.code not in (429, 503, 504) or attempt == attempts - 1:
                sys.exit(f"{error.code}: {error.read().decode()}")
            wait = float(error.headers.get("Retry-After", 0))
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if attempt == attempts - 1:
                sys.exit(f"no answer: {error}")
            wait = 0
        time.sleep(wait + 2**attempt * random.uniform(0.1, 0.3))


answer = classify(sys.argv[1], sys.argv[2:])
for file, result in zip(sys.argv[2:], answer["results"]):
    if "error" in result:
        print(file, result["error"]["code"], result["error"]["message"])
    else:
        print(file, result["class_name"], result["hairy_cell"]["flag"])
