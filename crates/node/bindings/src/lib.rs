//! What code may reach beyond itself: semantics once, for every sandbox. Outbound HTTP now.
//!
//! An [`Outbound`] is what one revision may call. [`Outbound::admit`] decides at once (host, limits, circuit);
//! [`Ticket::send`] resolves, checks the addresses ([`address`]), connects ([`dial`]) or takes a connection that rests, and
//! streams the answer ([`body`]).
//!
//! **Invariants**: no binding, no access; a connection is opened to an address that was checked, not to a name; revisions
//! share neither connections nor circuits; redirects are answers, nobody follows them here. It knows no sandbox.

mod address;
mod body;
mod dial;
mod error;
mod outbound;
mod ticket;

pub use dial::Resolver;
pub use error::Error;
pub use outbound::{Client, Outbound, Tell};
pub use ticket::{Ticket, Timeouts};
