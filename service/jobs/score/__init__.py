"""Archives of images to a folder of results by an actor pool: ``hal score``, on Ray Data."""
