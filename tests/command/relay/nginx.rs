//! A relay behind a real nginx, as a proxy of TCP or of HTTP.

use futures_util::future::join_all;

use crate::{
    funnel_process::FunnelProcess,
    nginx::Nginx,
    relay_crowd::{Begin, ELSEWHERE, SOON, addr, crowd, has_addresses, join, joined, typical},
    relay_lab::{Lab, TOKEN, url},
    sides::guarded,
};

/// The address from which nginx reaches the relay.
const NGINX: &str = "127.0.0.9";

const PROXY_OF_TCP: &str = "
stream {
  server { listen LISTEN; proxy_pass UPSTREAM; proxy_protocol on; proxy_bind 127.0.0.9; proxy_timeout 10m; }
}";
const PROXY_OF_HTTP: &str = "
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen LISTEN;
    location / {
      proxy_pass http://UPSTREAM;
      proxy_bind 127.0.0.9;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection \"upgrade\";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_read_timeout 10m;
    }
  }
}";

async fn relay(lab: &Lab, proxies: &str) -> FunnelProcess {
    let token = lab.token("token", TOKEN);
    lab.relay(&format!("--http --listen 127.0.0.1:0 --token-file {token} {proxies}")).await
}

/// The address that the relay logs for a client that it refuses.
async fn refused_from(relay: &FunnelProcess, nginx: &Nginx) -> String {
    let error = join(&nginx.url(), None, None).await.unwrap_err();
    assert!(error.contains("requires a token"), "{error}");
    relay.logged("requires a token").await.unwrap();
    let log = relay.stderr();
    let (_, address) = log.split_once("address=").unwrap();
    address.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_a_hundred_newcomers_are_in_beside_a_thousand_silent_connections() {
    if !Nginx::is_here_with_stream() || !has_addresses() {
        return;
    }
    guarded(async {
        for (server, option, begin) in [
            (PROXY_OF_TCP, "--proxy-protocol", Begin::Nothing),
            // Without a request, nginx itself holds the connection.
            (PROXY_OF_HTTP, "--trust-forwarded", Begin::AnUpgrade),
        ] {
            let lab = Lab::new();
            let relay = relay(&lab, &format!("{option} {NGINX}")).await;
            let nginx = Nginx::start(server, addr(&relay)).await;
            let alone = typical(&nginx.url(), None).await;
            let crowd = crowd(ELSEWHERE, nginx.addr, &[begin]).await;
            let (url, began) = (nginx.url(), std::time::Instant::now());
            join_all((0..100).map(|_| joined(&url, None))).await;
            let all = began.elapsed();
            let beside = typical(&nginx.url(), None).await;
            eprintln!("{option}: newcomer {alone:?} alone, {beside:?} beside 1,000 silent ones; 100 newcomers {all:?}");
            assert!(beside < SOON, "{beside:?}");
            assert!(all < SOON, "{all:?}");
            drop(crowd);
            relay.stop().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn behind_nginx_the_address_of_a_client_is_that_which_a_trusted_proxy_gives() {
    if !Nginx::is_here_with_stream() || !has_addresses() {
        return;
    }
    guarded(async {
        for (server, option, address) in [
            (PROXY_OF_TCP, "--proxy-protocol 127.0.0.9", "127.0.0.1"),
            (PROXY_OF_HTTP, "--trust-forwarded 127.0.0.0/28", "127.0.0.9"),
            (PROXY_OF_HTTP, "--trust-forwarded 127.0.0.9", "127.0.0.1"),
            (PROXY_OF_HTTP, "--trust-forwarded 127.0.0.8", "127.0.0.9"),
        ] {
            let lab = Lab::new();
            let relay = relay(&lab, option).await;
            let nginx = Nginx::start(server, addr(&relay)).await;
            assert_eq!(refused_from(&relay, &nginx).await, address, "{option}");
            assert!(url(&relay).starts_with("http://127.0.0.1:"));
            relay.stop().await.unwrap();
        }
    })
    .await;
}
