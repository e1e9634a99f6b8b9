"""For users and for ourselves: conformance suites, virtual time, generators, fault injection."""
