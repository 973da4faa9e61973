"""Archives of images to a folder of results by many workers: ``hal score``, on Ray Data."""
