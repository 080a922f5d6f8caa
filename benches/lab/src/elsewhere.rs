//! No links: what compiles where there is no TUN device, and cannot be made.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    process::{Child, Command},
};

use crate::{Conditions, Counts, Measured, Mismatch};

const WHY: &str = "they need Linux";

/// A host of a link: there is none on this system.
#[derive(Clone, Debug)]
pub struct Host(Infallible);

/// A link: there is none on this system.
#[derive(Debug)]
pub struct Link(Infallible);

pub(crate) fn available() -> Result<(), String> {
    Err(WHY.into())
}

#[allow(missing_docs)]
impl Host {
    pub fn addr(&self) -> IpAddr {
        match self.0 {}
    }

    pub fn spawn(&self, _: &mut Command) -> io::Result<Child> {
        match self.0 {}
    }

    pub fn enter(&self) -> io::Result<()> {
        match self.0 {}
    }

    pub fn run<T: Send>(&self, _: impl FnOnce() -> T + Send) -> T {
        match self.0 {}
    }
}

#[allow(missing_docs)]
impl Link {
    pub fn new(_: Conditions) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, WHY))
    }

    pub fn left(&self) -> &Host {
        match self.0 {}
    }

    pub fn right(&self) -> &Host {
        match self.0 {}
    }

    pub fn conditions(&self) -> Conditions {
        match self.0 {}
    }

    pub fn set(&self, _: Conditions) -> io::Result<()> {
        match self.0 {}
    }

    pub fn cut(&self) {
        match self.0 {}
    }

    pub fn restore(&self) {
        match self.0 {}
    }

    pub fn readdress_left(&self) -> io::Result<IpAddr> {
        match self.0 {}
    }

    pub fn counts(&self) -> [Counts; 2] {
        match self.0 {}
    }

    pub fn measure(&self) -> io::Result<Measured> {
        match self.0 {}
    }

    pub fn assert_as_asked(&self) -> Result<Measured, Mismatch> {
        match self.0 {}
    }
}
