"""Classify and summarise the cells of one slide: ``python slide_client.py URL FILE...``."""

import os
import sys

from client import Classified, HalClient, OtherModelError

url, *files = sys.argv[1:]
with HalClient(url, api_key=os.environ.get("HAL_API_KEY")) as hal:
    try:
        slide = hal.classify_slide(files, images_per_request=32, concurrency=4)
    except OtherModelError as error:
        sys.exit(f"the model was replaced meanwhile, classify the slide again: {error}")
summary = slide.summary
print(f"{summary.advice}: {summary.reason}")
for row in summary.differential:
    if row.count:
        per_100 = "not known" if row.per_100_wbc is None else f"{row.per_100_wbc:.1f}"
        print(f"{row.class_name:32} {row.count:5} {per_100:>9} per 100 white cells")
for outcome in slide.outcomes:
    if not isinstance(outcome.result, Classified):
        print(outcome.source, outcome.result.code, outcome.result.message)
    elif outcome.result.review:
        print(outcome.source, "for review:", outcome.result.class_name, *(why.code for why in outcome.result.review))
for caution in summary.cautions:
    print(caution)
