"""The worker: takes orders off the queue and marks them as done, again and again, whatever goes away meanwhile."""

import signal
import time

import store

signal.signal(signal.SIGTERM, lambda *_: exit(0))
while True:
    try:
        taken = store.queue().blpop(store.QUEUE, timeout=5)
        if taken:
            number = int(taken[1])
            with store.database() as db, db.cursor() as rows:
                rows.execute("update orders set state = 'done' where id = %s", (number,))
            print(f"order {number} is done", flush=True)
    except Exception as failure:
        print(f"waiting: {failure}", flush=True)
        time.sleep(1)
