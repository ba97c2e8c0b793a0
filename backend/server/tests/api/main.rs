//! The product from outside: a real listener, real sockets, the demo model.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod cli;
mod connections;
mod documents;
mod edits;
mod hocuspocus;
mod http;
mod invites;
mod lifecycle;
mod limits;
mod log;
mod matrix;
mod projects;
mod review;
mod revocation;
mod rpc;
mod support;
mod tickets;
mod turns;
mod y_websocket;
