//! Servers with children that are tasks.
