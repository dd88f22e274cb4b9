"""The specification as pure functions and values: no sockets, clock, randomness or logging.

Which room holds which clause:

* ``names`` server names and key ids; ``addresses`` which addresses we may connect to
* ``canonical`` JSON in and out, base64; ``signing`` signatures on JSON and the key file
* ``keys`` key documents, version 1 (2014) and version 2; ``certificates`` X.509
* ``wellknown`` the delegation file; ``records`` and ``srv`` what DNS says; ``discovery`` the
  two step machines
* ``conditions`` *examine, then insist*; ``trust`` the rules a connection is judged by
"""
