"""``HAL_HTTP_WORKERS=N``: several HTTP processes in front of one process that has the network.

::

    parent  starts, watches and restarts; alone takes signals            parent.py, child.py
      |     owns the listening socket and the shared memory              memory.py
      |     gives each process the bundle                                parcel.py
      +-- N workers   requests, decoding, answers                        http_process.py, worker.py, intake.py
      |      |        one Unix socket each, made by the parent           link.py, messages.py
      |      v        images through shared memory                       slots.py
      +-- engine      batcher, network, audit trail, drift               engine_process.py, relay.py

Queue, seats, priorities and deadlines are those of the one :class:`service.batching.batcher.Batcher` in the engine process:
it runs ``spread`` for every request, and where a single process would decode an image in the seat that it has been
given, the engine process grants the seat to the worker, which decodes, puts the pixels into one of its slots and
submits them; the engine process copies them out at once and the slot is free again. A slot is written by its worker
only and read only while a ``Submit`` is handled, so it is never written while it is read.

What everybody must know at once (state, seats taken, who died) is on a board in shared memory (``board.py``), and so
is what each process has counted (``accounts.py``, ``ledger.py``, ``publisher.py``), so that any worker answers
``/metrics`` for all of them and nothing that was counted is lost with the process that counted it.

One listening socket is inherited by all workers, rather than one each by SO_REUSEPORT: what has not been accepted
waits in one queue that survives every worker, and is taken by one that has time. With SO_REUSEPORT the kernel chooses
by a hash, and what waits for a worker that dies is lost with it.
"""
