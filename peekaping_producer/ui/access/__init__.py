"""Who may see the page, and who may act.

- roles: what a request may do
- clients: the address and the user of a request, also behind proxies
- attempts: limits wrong tokens
- sessions: the cookie of a browser that has logged in
- gate: the role of a request, by its token, cookie or user
- origins: refuses requests that another web site makes a browser send
- line_limit: limits the log lines that clients can cause
- endpoints: the middleware, and the routes of the session
"""

from peekaping_producer.ui.access.endpoints import AccessEndpoints
from peekaping_producer.ui.access.roles import Role, Visitor

__all__ = ["AccessEndpoints", "Role", "Visitor"]
