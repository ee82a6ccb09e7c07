"""The `kafka` receiver: OTLP messages from the topics of a Kafka cluster.

`subscription.py` has the life of one signal's consumer, `line.py` the messages of one partition, `consumer.py` the
client library behind a thread. What a message says goes the way of every OTLP request (`receivers/otlp/intake.py`).
"""
