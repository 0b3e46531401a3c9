"""A page in a browser, and the HTTP service behind it: drop a picture, get it larger.

The server process answers requests and keeps the queue. It never opens a picture and does not
import PyTorch: child processes do the work (`child`), one for each device, so that a crash costs
one job. The modules, from the outside in: `server` (sockets, signals), `guard` (who may ask for
what, headers, log lines), `api` and `pages` (routes), `service` (jobs, queue, expiry), `process`
(a child process), and in it `child` and `work`. The query parameters are one table (`options`),
from which `openapi` describes them.
"""
