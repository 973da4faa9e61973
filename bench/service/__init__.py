"""``hal bench service``: the service beside other ways of serving the same graph; nothing of it runs while serving."""
