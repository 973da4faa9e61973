"""How many images a service answers, and how fast: ``hal load-test``. Sees it only over HTTP, as its clients do."""
