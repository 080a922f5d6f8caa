//! A restart is nothing: tickets stay valid, and a ticket file may come later or be replaced.

use std::{ffi::OsString, fs, net::UdpSocket, path::Path, time::Duration};

use flower_iroh_funnel::EndpointAddr;
use iroh_tickets::endpoint::EndpointTicket;
use tokio::io::AsyncWriteExt;

use crate::{
    funnel_process::{FunnelProcess, endpoint_id},
    peers::{Office, call},
    sides::{guarded, http_server, response_head},
};

/// A coordinator's folder, a site's folder, and a SuperLink.
struct Scene {
    office: Office,
    site: Office,
    expose: Vec<OsString>,
}

impl Scene {
    /// With words of `expose` besides `--bind` and `--relay off`.
    async fn new(bind: &str) -> Self {
        let superlink = http_server(|mut socket, _| async move {
            socket.write_all(response_head(0).as_bytes()).await.unwrap();
        });
        let (office, site) = (Office::new(), Office::new());
        let id = endpoint_id(&site.file("secret.key")).await.unwrap();
        let superlink = format!("http://{}", superlink.await);
        let mut expose: Vec<OsString> = ["expose", "--superlink", &superlink, "--allow", &id, "--relay", "off"]
            .into_iter()
            .chain(if bind.is_empty() { vec![] } else { vec!["--bind", bind] })
            .map(OsString::from)
            .collect();
        expose.extend(["--key-file".into(), office.file("secret.key").into(), "--ticket-file".into()]);
        expose.push(office.file("ticket").into());
        Self { office, site, expose }
    }

    async fn expose(&self) -> FunnelProcess {
        FunnelProcess::start(self.expose.clone()).await.unwrap()
    }

    fn ticket(&self) -> EndpointAddr {
        let text = fs::read_to_string(self.office.file("ticket")).unwrap();
        text.trim().parse::<EndpointTicket>().unwrap().into()
    }

    fn join(&self, peer: &str) -> FunnelProcess {
        FunnelProcess::spawn(self.site.words(&["join", peer, "--listen", "127.0.0.1:0"])).unwrap()
    }

    fn at_ticket(&self) -> String {
        format!("@{}", self.office.file("ticket").display())
    }
}

async fn calls_work(site: &FunnelProcess) {
    while call(site).await != "200" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn after_a_kill_and_a_restart_without_relays_the_old_ticket_leads_to_the_funnel_again() {
    guarded(async {
        for bind in ["127.0.0.1:0", ""] {
            let scene = Scene::new(bind).await;
            let inbound = scene.expose().await;
            let ticket = inbound.stdout_line("ticket ").unwrap();
            let before = scene.ticket();
            let site = scene.join(&ticket).ready().await.unwrap();
            assert_eq!(call(&site).await, "200");
            inbound.kill().await.unwrap();
            let inbound = scene.expose().await;
            assert_eq!(scene.ticket(), before, "{bind}: IPv4 and IPv6");
            calls_work(&site).await;
            site.stop().await.unwrap();
            // A site that starts now reaches it too.
            let site = scene.join(&ticket).ready().await.unwrap();
            assert_eq!(call(&site).await, "200");
            site.stop().await.unwrap();
            assert!(!inbound.stderr().contains("UDP port"), "{}", inbound.stderr());
            inbound.stop().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_of_the_last_run_that_is_taken_is_replaced_with_a_line_and_one_that_is_set_is_not_remembered() {
    guarded(async {
        let mut scene = Scene::new("127.0.0.1:0").await;
        scene.expose().await.stop().await.unwrap();
        let addr = *scene.ticket().ip_addrs().next().unwrap();
        let file = scene.office.file("secret.key.port");
        assert!(fs::read_to_string(&file).unwrap().contains(&addr.port().to_string()));
        let taken = UdpSocket::bind(addr).unwrap();
        let inbound = scene.expose().await;
        inbound.logged(&format!("the UDP port of the last run, {} (IPv4), is in use", addr.port())).await.unwrap();
        let now = *scene.ticket().ip_addrs().next().unwrap();
        assert_ne!(now, addr);
        inbound.stop().await.unwrap();
        drop(taken);
        let remembered = fs::read_to_string(&file).unwrap();
        assert!(remembered.contains(&now.port().to_string()), "{remembered}");
        let bind = scene.expose.iter().position(|word| word == "--bind").unwrap();
        scene.expose[bind + 1] = addr.to_string().into();
        scene.expose().await.stop().await.unwrap();
        assert_eq!(scene.ticket().ip_addrs().next(), Some(&addr));
        assert_eq!(fs::read_to_string(&file).unwrap(), remembered);
    })
    .await;
}

#[tokio::test]
async fn a_ticket_file_that_does_not_exist_yet_is_waited_for_also_while_it_is_being_copied() {
    guarded(async {
        let scene = Scene::new("127.0.0.1:0").await;
        let folder = scene.site.file("not-mounted");
        let ticket = folder.join("ticket");
        let config = scene.site.file("funnel.toml");
        let text = "relay_mode = \"off\"\nbind_addr = \"127.0.0.1:0\"\n[[peer]]\nlisten = \"127.0.0.1:0\"\n";
        fs::write(
            &config,
            format!(
                "key_file = {:?}\n{text}peer = {:?}\n",
                scene.site.file("run.key"),
                format!("@{}", ticket.display())
            ),
        )
        .unwrap();
        let site = scene.join(&format!("@{}", ticket.display()));
        let running = FunnelProcess::spawn(["run".into(), "--config".into(), config.into_os_string()]).unwrap();
        let stopped = scene.join(&format!("@{}", ticket.display()));
        for waiting in [&site, &running, &stopped] {
            waiting.logged("waiting for the ticket file").await.unwrap();
        }
        assert!(stopped.stop().await.unwrap().success() || cfg!(not(unix)));
        let inbound = scene.expose().await;
        let complete = fs::read_to_string(scene.office.file("ticket")).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(&ticket, &complete[..30]).unwrap();
        site.logged("is incomplete").await.unwrap();
        fs::write(&ticket, complete).unwrap();
        let site = site.ready().await.unwrap();
        assert_eq!(call(&site).await, "200");
        let running = running.ready().await.unwrap();
        assert_eq!(site.stderr().matches("waiting for the ticket file").count(), 1);
        for process in [site, running, inbound] {
            process.stop().await.unwrap();
        }
    })
    .await;
}

fn forget_ports(office: &Office) {
    fs::remove_file(office.file("secret.key.port")).unwrap();
}

#[tokio::test]
async fn when_a_peer_has_moved_its_ticket_file_is_read_again_also_if_it_has_another_key() {
    guarded(async {
        let scene = Scene::new("127.0.0.1:0").await;
        let inbound = scene.expose().await;
        let first = scene.ticket();
        let site = scene.join(&scene.at_ticket()).ready().await.unwrap();
        assert_eq!(call(&site).await, "200");
        inbound.kill().await.unwrap();
        forget_ports(&scene.office);
        let _taken = UdpSocket::bind(*first.ip_addrs().next().unwrap()).unwrap();
        let inbound = scene.expose().await;
        assert_ne!(scene.ticket(), first);
        assert_eq!(scene.ticket().id, first.id);
        calls_work(&site).await;
        site.logged("has changed: dialling").await.unwrap();

        inbound.kill().await.unwrap();
        fs::remove_file(scene.office.file("secret.key")).unwrap();
        let inbound = scene.expose().await;
        let new = scene.ticket().id;
        assert_ne!(new, first.id);
        calls_work(&site).await;
        site.logged(&format!("has changed: dialling {} as it says now", new.fmt_short())).await.unwrap();

        // A file that names this funnel itself, or is damaged, changes nothing.
        inbound.kill().await.unwrap();
        let own = endpoint_id(Path::new(&scene.site.file("secret.key"))).await.unwrap();
        let ticket = fs::read_to_string(scene.office.file("ticket")).unwrap();
        fs::write(scene.office.file("ticket"), own).unwrap();
        site.logged("is not followed: that is this funnel itself").await.unwrap();
        fs::write(scene.office.file("ticket"), &ticket[..40]).unwrap();
        site.logged("its last content stays in use").await.unwrap();
        let inbound = scene.expose().await;
        calls_work(&site).await;
        site.stop().await.unwrap();
        inbound.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_tickets_in_the_file_and_in_the_status_are_there_before_ready() {
    guarded(async {
        for _ in 0..8 {
            let scene = Scene::new("127.0.0.1:0").await;
            let inbound = scene.expose().await;
            let status = fs::read_to_string(scene.office.file("peers.seen.json")).unwrap();
            let ticket = fs::read_to_string(scene.office.file("ticket")).unwrap();
            assert!(status.contains(ticket.trim()), "{status}");
            inbound.kill().await.unwrap();
        }
    })
    .await;
}
