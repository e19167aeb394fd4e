"""A stand-in for MongoDB, for tests: the MongoDB wire protocol in front of PostgreSQL 18 with the DocumentDB extension.

Run it with ``python -m sillar.testing.servers.mongodb_gateway --port N --postgresql-port M``. Drivers see a replica-set
primary and so allow transactions and retryable writes. It exists because a ``mongod`` is not to be had everywhere; it
is not a database product, and what is only verified against it is not verified against MongoDB.

What differs from a real MongoDB:

- No change streams, no capped or time-series collections, no oplog, no elections, no compression, no OP_QUERY beyond
  ``hello``.
- One member: ``replSetStepDown`` turns it into a secondary for some seconds, and nobody takes over. Of several
  (``StandInReplicaSet``) all have the same data: nothing is replicated, nobody votes, no write concern is waited for.
- Times (``operationTime``, ``$clusterTime``) are a counter without a signature. ``afterClusterTime`` is waited for
  where a secondary is held back; such a one reads from a snapshot of PostgreSQL, one batch at a time.
- ``hello`` answers at once and has no ``topologyVersion``: drivers poll instead of streaming.
- Each command is one PostgreSQL transaction: a killed ``insertMany`` leaves nothing, where MongoDB keeps a part.
- Transactions are PostgreSQL's REPEATABLE READ. A write conflict shows after ``LOCK_WAIT_MILLISECONDS`` instead of at
  once, any error ends the transaction, and a transaction is aborted shortly after the socket that used it last closed.
- ``maxTimeMS`` covers each command by itself; a cursor's ``getMore`` has no inherited limit.
- Any unique violation is an E11000 naming the index, with ``keyPattern``; ``keyValue`` only where the command shows it.
- Only one user, from the command line, with every right, on the database ``admin``; only SCRAM-SHA-256.
- ``explain`` translates PostgreSQL's plan into MongoDB's stage names roughly; PostgreSQL's own plan is included.
- Index builds lock the collection. Numbers in ``collStats`` and ``serverStatus`` are PostgreSQL's or the gateway's.
- What an operator or stage does is up to the DocumentDB extension, error texts included; error states of it that the
  gateway does not know come as code 1 (InternalError) with the SQLSTATE in the message.
"""
