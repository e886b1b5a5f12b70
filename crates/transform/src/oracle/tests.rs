//! What the oracle says of small sets of events.
