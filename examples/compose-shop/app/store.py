"""The shop's data: orders in PostgreSQL, their queue in Redis."""

import os

import psycopg2
import redis

QUEUE = "orders"


def database():
    with open(os.environ["DB_PASSWORD_FILE"]) as secret:
        password = secret.read().strip()
    connection = psycopg2.connect(
        host=os.environ["DB_HOST"],
        dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USER"],
        password=password,
        connect_timeout=3,
    )
    connection.autocommit = True
    return connection


def queue():
    return redis.Redis(host=os.environ["CACHE_HOST"], socket_timeout=10)
