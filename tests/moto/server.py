"""moto's AWS Secrets Manager on a free loopback port, until standard input ends.

Prints the port. One request at a time: moto's state is plain Python objects without locks, while each
call of AWS takes effect at once or not at all.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()


def application(environ, start_response):
    with one_at_a_time:
        return list(moto(environ, start_response))


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
# Whoever started this holds the other end, and lets go of it however it ends.
sys.stdin.read()
