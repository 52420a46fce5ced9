"""Settings of gunicorn, and gevent's patch, which must come before other imports.

    gunicorn -c python:serving.server.gunicorn_conf "serving.app:create_app()"

gunicorn runs this file like any configuration file; `python -m serving` imports it.
"""

from gevent import monkey

monkey.patch_all()

worker_class = "gevent"
"""gunicorn's own: each connection costs a greenlet, not a thread."""

worker_connections = 4096
"""Connections of a process; more wait to be accepted."""

keepalive = 5
"""Seconds for a head to come whole, and for a kept connection to be asked again. Not
longer than --drain-seconds, so that no idle connection holds up the end."""

forwarder_headers = ""
"""Nobody may say which part of a path is not to be looked at (SCRIPT_NAME)."""

control_socket_disable = True
"""It would lie in the home directory, which a container may lack."""

loglevel = "warning"
