//! Published at a DNS and pkarr server of one's own, and found there by the id alone.

use std::fs;

use iroh::{EndpointAddr, dns::DnsResolver};
use iroh_tickets::endpoint::EndpointTicket;

use crate::{
    certificates::{Ca, LOCAL_NAMES},
    funnel_process::{FunnelProcess, run_for_output},
    parties::{Parties, call, direct_addr, exposed, reaches, stop, text},
    ports::free_addr,
    server::{NameServer, pkarr},
    sides::guarded,
};

const PUBLISHED: &str = "published where this funnel is";
const NOT_PUBLISHED: &str = "cannot publish where this funnel is";

#[tokio::test(flavor = "multi_thread")]
async fn who_is_published_is_reached_by_its_id_over_dns_and_over_http() {
    guarded(async {
        let (server, parties) = (NameServer::start().await, Parties::new());
        let inbound = parties.expose(&format!("--publish {},addresses", server.pkarr())).await;
        inbound.logged(PUBLISHED).await.unwrap();
        let id = parties.id("expose.key").await;
        for lookup in [server.dns(), server.pkarr()] {
            let outbound = reaches(parties.join(&id, &format!("--lookup {lookup}"))).await;
            stop([outbound]).await;
        }
        stop([inbound]).await;
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_published_is_not_found_and_the_error_says_where_it_was_looked_for() {
    guarded(async {
        let (server, parties) = (NameServer::start().await, Parties::new());
        // To ask is not to publish.
        let inbound = parties.expose(&format!("--lookup {}", server.pkarr())).await;
        let id = parties.id("expose.key").await;
        let (dns, http) = (server.dns(), server.pkarr());
        let outbound = parties.join(&id, &format!("--lookup {dns} --lookup {http}"));
        outbound
            .logged(&format!("no address of it is known: {dns} has no record; {http} has no record"))
            .await
            .unwrap();
        outbound.logged("--publish").await.unwrap();
        stop([inbound, outbound]).await;

        let outbound = parties.join(&id, "");
        outbound
            .logged("no address of it is known; give its ticket, or an address lookup service (--lookup)")
            .await
            .unwrap();
        stop([outbound]).await;
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_told_otherwise_only_the_relay_is_published_and_it_is_enough() {
    guarded(async {
        let (server, parties) = (NameServer::start().await, Parties::new());
        let words = parties.words_with("relay --http --listen 127.0.0.1:0 --open", "relay.key", &[]);
        let relay = FunnelProcess::start(words).await.unwrap();
        let url = relay.stdout_line("ready ").unwrap();
        let published: iroh::RelayUrl = url.parse().unwrap();
        let common = ["--bind", "127.0.0.1:0", "--relay", &url];
        let line = exposed(&format!("--publish {}", server.pkarr())).await;
        let inbound = FunnelProcess::start(parties.words_with(&line, "expose.key", &common)).await.unwrap();
        inbound.logged(PUBLISHED).await.unwrap();

        let id = parties.id("expose.key").await;
        let resolver = DnsResolver::with_nameserver(server.nameserver());
        let record = resolver.lookup_endpoint_by_id(&id.parse().unwrap(), "irohdns.example.").await.unwrap();
        let relays: Vec<_> = record.relay_urls().cloned().collect();
        assert_eq!((relays.as_slice(), record.ip_addrs().count()), ([published].as_slice(), 0));

        let line = format!("join {id} --listen 127.0.0.1:0 --lookup {}", server.dns());
        let outbound = FunnelProcess::spawn(parties.words_with(&line, "join.key", &common)).unwrap();
        stop([reaches(outbound).await, inbound, relay]).await;
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_costs_one_warning_and_is_used_when_it_is_back() {
    guarded(async {
        let parties = Parties::new();
        let addr = free_addr();
        let inbound = parties.expose(&format!("-v --publish {},addresses", pkarr(addr))).await;
        inbound.logged(NOT_PUBLISHED).await.unwrap();
        // Tried again, and not told again.
        inbound.logged("not published").await.unwrap();
        let server = NameServer::on(addr.port(), None).await;
        inbound.logged(PUBLISHED).await.unwrap();
        assert_eq!(inbound.stderr().matches(NOT_PUBLISHED).count(), 1, "{}", inbound.stderr());
        stop([inbound]).await;
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_out_of_date_is_mended_by_a_lookup() {
    guarded(async {
        let (server, parties) = (NameServer::start().await, Parties::new());
        let inbound = parties.expose(&format!("--publish {},addresses", server.pkarr())).await;
        inbound.logged(PUBLISHED).await.unwrap();
        let id = parties.id("expose.key").await;
        // A socket that was somebody's, and answers nothing.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let old =
            EndpointAddr::from(id.parse::<iroh::EndpointId>().unwrap()).with_ip_addr(silent.local_addr().unwrap());
        let old = EndpointTicket::new(old).to_string();
        let outbound = parties.join(&old, &format!("--lookup {}", server.dns()));
        stop([reaches(outbound).await, inbound]).await;
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_ca_of_ones_own_is_trusted_by_who_has_the_ca_and_nobody_else() {
    guarded(async {
        let (ca, parties) = (Ca::new(), Parties::new());
        let server = NameServer::on(0, Some(ca.sign(&LOCAL_NAMES))).await;
        let ca_file = parties.file("ca.pem");
        fs::write(&ca_file, ca.pem()).unwrap();
        let (place, trust) = (server.secure_pkarr(), format!("--relay-ca {}", text(&ca_file)));
        let inbound = parties.expose(&format!("--publish {place},addresses {trust}")).await;
        inbound.logged(PUBLISHED).await.unwrap();
        let id = parties.id("expose.key").await;
        let outbound = reaches(parties.join(&id, &format!("--lookup {place} {trust}"))).await;
        stop([outbound, inbound]).await;

        let inbound = parties.expose(&format!("--publish {place},addresses")).await;
        inbound.logged(NOT_PUBLISHED).await.unwrap();
        let outbound = parties.join(&id, &format!("--lookup {place}"));
        outbound.logged(&format!("{place} cannot be asked")).await.unwrap();
        for distrustful in [&inbound, &outbound] {
            assert!(distrustful.stderr().contains("UnknownIssuer"), "{}", distrustful.stderr());
        }
        stop([outbound, inbound]).await;
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_killed_and_is_back_at_another_address_is_found_there() {
    guarded(async {
        let (server, parties) = (NameServer::start().await, Parties::new());
        let publish = format!("--publish {},addresses", server.pkarr());
        let inbound = parties.expose(&publish).await;
        inbound.logged(PUBLISHED).await.unwrap();
        let id = parties.id("expose.key").await;
        let outbound = reaches(parties.join(&id, &format!("--lookup {}", server.dns()))).await;
        let before = direct_addr(&inbound);
        inbound.kill().await.unwrap();
        // Its port may not be free for it.
        let _taken = std::net::UdpSocket::bind(before).unwrap();
        let inbound = parties.expose(&publish).await;
        while call(&outbound).await != "200" {}
        assert_ne!(direct_addr(&inbound), before);
        stop([outbound, inbound]).await;
        server.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_without_an_address_works_where_the_id_is_looked_up() {
    guarded(async {
        let (server, parties) = (NameServer::start().await, Parties::new());
        // Before the funnel has ever run, so that nobody knows where it will be.
        let invite = parties.words("invite clinic", "expose.key");
        let (status, stdout, stderr) = run_for_output(invite).await.unwrap();
        assert!(status.success() && stderr.contains("contains no address"), "{stderr}");
        let invitation = stdout.lines().find_map(|line| line.strip_prefix("invitation ")).unwrap();
        let line = exposed("").await.replace("--allow-any", "");
        let line = format!("{line} --publish {},addresses", server.pkarr());
        let inbound = FunnelProcess::start(parties.words(&line, "expose.key")).await.unwrap();
        inbound.logged(PUBLISHED).await.unwrap();
        let outbound = reaches(parties.join(invitation, &format!("--lookup {}", server.dns()))).await;
        stop([outbound, inbound]).await;
        server.stop().await;
    })
    .await;
}
