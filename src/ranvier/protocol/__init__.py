"""The specification as pure functions and values: no sockets, clock, randomness or logging.

Which room holds which clause:

* ``names`` server names and key ids; ``addresses`` which addresses we may connect to
* ``canonical`` JSON in and out, base64; ``signing`` signatures on JSON and the key file
* ``keys`` key documents, version 1 (2014) and version 2; ``keyconditions`` whether one is good;
  ``keylife`` how long its keys are
* ``certificates`` X.509; ``chains`` the way from a leaf to an authority
* ``wellknown`` the delegation file; ``records`` and ``srv`` what DNS says
* ``discovery`` the two step machines, ``questions`` what they ask, ``endings`` and ``routes``
  what they come to
* ``transactions`` envelopes and their answers; ``edus`` what they carry besides events; ``retry``
  when to send one again
* ``conditions`` *examine, then insist*; ``trust`` the rules a connection is judged by
* ``text`` how a stranger's text stands in ours
"""
