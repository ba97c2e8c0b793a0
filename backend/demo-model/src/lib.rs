//! A rule-based model behind the real Responses protocol.
