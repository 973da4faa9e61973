"""Classify files with HAL's client: ``python classify_client.py URL FILE...``."""

import os
import sys

from client import Classified, HalClient, UnavailableError

url, *files = sys.argv[1:]
with HalClient(url, api_key=os.environ.get("HAL_API_KEY"), timeout=30) as hal:
    try:
        for outcome in hal.classify_many(files, images_per_request=32, concurrency=4):
            match outcome.result:
                case Classified() as cell:
                    print(outcome.source, cell.class_name, f"{cell.confidence:.3f}", cell.hairy_cell.flag)
                case refused:
                    print(outcome.source, refused.code, refused.message)
    except UnavailableError as error:
        sys.exit(f"the service is not available: {error}")
