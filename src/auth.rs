//! Who somebody is, and what they may do.
//!
//! Separate from `http`, which only carries credentials: what a credential is worth, and what its owner may do, is decided
//! here, and the layers below know a [`Principal`] and nothing of how it was established.
//!
//! Invariants: no two ways of authentication ever give the same principal; no credential is kept as it came, nor in an
//! error or a log. DESIGN sections 2 (invariants 2 and 7) and 6.

pub mod jwt;
pub mod metadata;
mod principal;

pub use principal::{Principal, Source};

/// What one request's credentials were found to be worth.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Whom the request acts for.
    pub principal: Principal,
}

impl Admission {
    /// Where nobody has to say who they are.
    pub const fn anonymous() -> Self {
        Self { principal: Principal::anonymous() }
    }
}
