//! A link is what was asked for, and its hosts are apart from everything else. Needs root on Linux; else says so.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lab::{Conditions, Host, Link};

const NEAR: Conditions =
    Conditions { delay: Duration::from_millis(5), loss: 0.0, rate: 50.0, queue: Duration::from_millis(20) };
const FAR: Conditions =
    Conditions { delay: Duration::from_millis(40), loss: 3.0, rate: 20.0, queue: Duration::from_millis(60) };

/// One test at a time: what measures must not compete for the processor.
static TURN: Mutex<()> = Mutex::new(());

fn link(conditions: Conditions) -> Option<(Link, MutexGuard<'static, ()>)> {
    if let Err(unavailable) = lab::available() {
        eprintln!("skipped: {unavailable}");
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Some((Link::new(conditions).unwrap(), turn))
}

/// A socket at every address of a host, on a port that is the same in all.
fn bind(host: &Host) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4433))).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn send(from: &UdpSocket, to: IpAddr, text: &str) {
    from.send_to(text.as_bytes(), (to, 4433)).unwrap();
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 100];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8(buffer[..len].to_vec()).unwrap(), from)
}

/// What `ip` prints in a host.
fn ip(host: &Host, arguments: &[&str]) -> String {
    let child = host.spawn(Command::new("ip").args(arguments).stdout(Stdio::piped())).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until the link has dropped that many rightward packets because it was cut.
fn until_cut(link: &Link, packets: u64) {
    let patience = Instant::now() + Duration::from_secs(10);
    while link.counts()[0].cut < packets {
        assert!(Instant::now() < patience, "{:?}", link.counts());
        std::thread::yield_now();
    }
}

#[test]
fn a_link_is_what_was_asked_for_and_does_not_pass_for_another() {
    let Some((link, _turn)) = link(NEAR) else { return };
    let measured = link.assert_as_asked().unwrap();
    let asked_otherwise = [
        Conditions { delay: NEAR.delay + Duration::from_millis(2), ..NEAR },
        Conditions { loss: 0.1, ..NEAR },
        Conditions { rate: NEAR.rate * 1.2, ..NEAR },
        Conditions { queue: NEAR.queue + Duration::from_millis(4), ..NEAR },
    ];
    for otherwise in asked_otherwise {
        println!("{}", measured.check(&otherwise).unwrap_err());
    }
}

#[test]
fn a_link_changes_while_it_runs() {
    let Some((link, _turn)) = link(NEAR) else { return };
    link.set(FAR).unwrap();
    assert_eq!(link.conditions(), FAR);
    println!("{}", link.assert_as_asked().unwrap());
}

#[test]
fn a_link_without_conditions_loses_and_delays_nothing() {
    let Some((link, _turn)) = link(Conditions::default()) else { return };
    let measured = link.assert_as_asked().unwrap();
    assert!(measured.rightward.rate.is_none() && measured.rightward.queue.is_none());
}

#[test]
fn conditions_that_no_link_has_are_refused() {
    let Some((link, _turn)) = link(NEAR) else { return };
    for (conditions, reason) in [
        (Conditions { loss: 101.0, ..NEAR }, "loss of 101 %"),
        (Conditions { loss: f64::NAN, ..NEAR }, "loss of NaN %"),
        (Conditions { rate: -1.0, ..NEAR }, "rate of -1 Mbit/s"),
    ] {
        assert!(Link::new(conditions).unwrap_err().to_string().contains(reason));
        assert!(link.set(conditions).unwrap_err().to_string().contains(reason));
    }
    assert_eq!(link.conditions(), NEAR);
}

#[test]
fn a_cut_link_drops_what_is_under_way_and_all_that_follows_until_restored() {
    let Some((link, _turn)) = link(Conditions { delay: Duration::from_secs(2), ..NEAR }) else { return };
    let (left, right) = (bind(link.left()), bind(link.right()));
    send(&left, link.right().addr(), "before");
    link.cut();
    send(&left, link.right().addr(), "meanwhile");
    until_cut(&link, 2);
    link.restore();
    link.set(NEAR).unwrap();
    send(&left, link.right().addr(), "after");
    assert_eq!(receive(&right).0, "after");
}

#[test]
fn a_cut_link_is_refused() {
    let Some((link, _turn)) = link(NEAR) else { return };
    link.cut();
    let refusal = link.assert_as_asked().unwrap_err().to_string();
    assert!(refusal.contains("no probe arrived"), "{refusal}");
}

#[test]
fn a_host_is_reached_at_its_new_address_only() {
    let Some((link, _turn)) = link(NEAR) else { return };
    let (left, right) = (bind(link.left()), bind(link.right()));
    let old = link.left().addr();
    let new = link.readdress_left().unwrap();
    assert_eq!((new, link.left().addr() == new, new == old), (link.left().addr(), true, false));
    send(&right, old, "to the old");
    send(&right, new, "to the new");
    assert_eq!(receive(&left).0, "to the new");
    send(&left, link.right().addr(), "from the new");
    assert_eq!(receive(&right), ("from the new".into(), (new, 4433).into()));
}

#[test]
fn a_host_can_change_its_address_again_and_again() {
    let Some((link, _turn)) = link(NEAR) else { return };
    for _ in 0..130 {
        let old = link.left().addr();
        assert_ne!(link.readdress_left().unwrap(), old);
        assert_ne!(link.left().addr(), link.right().addr());
    }
}

#[test]
fn two_links_with_the_same_addresses_are_apart() {
    let Some((first, _turn)) = link(NEAR) else { return };
    let second = Link::new(NEAR).unwrap();
    assert_eq!(first.right().addr(), second.right().addr());
    let sockets = [&first, &second].map(|link| (bind(link.left()), bind(link.right())));
    for ((left, _), text) in sockets.iter().zip(["first", "second"]) {
        send(left, first.right().addr(), text);
    }
    for ((_, right), text) in sockets.iter().zip(["first", "second"]) {
        assert_eq!(receive(right).0, text);
    }
    assert_eq!([&first, &second].map(|link| link.counts()[0].delivered), [1, 1]);
}

#[test]
fn a_process_sees_the_addresses_of_its_host_and_no_others() {
    let Some((link, _turn)) = link(NEAR) else { return };
    for host in [link.left(), link.right()] {
        let shown = ip(host, &["-brief", "-4", "address"]);
        let addresses: Vec<&str> = shown.split_whitespace().filter(|word| word.contains('/')).collect();
        assert_eq!(addresses, ["127.0.0.1/8", &format!("{}/32", host.addr())]);
    }
}

#[test]
fn a_thread_that_entered_stays() {
    let Some((link, _turn)) = link(NEAR) else { return };
    let host = link.left().clone();
    let entered = std::thread::spawn(move || {
        host.enter().unwrap();
        UdpSocket::bind((host.addr(), 0)).map(drop)
    });
    entered.join().unwrap().unwrap();
    assert!(UdpSocket::bind((link.left().addr(), 0)).is_err(), "this thread is elsewhere");
}
