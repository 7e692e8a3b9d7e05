//! Several sockets at once: ports and unix sockets over one set of places.

use rustix::process::geteuid;
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::*;

/// Two ports, and a unix socket in that folder.
async fn bind_three(folder: &TempDir, change: impl FnOnce(&mut ListenConfig)) -> Listener {
    let mut config = listen("127.0.0.1", 0, 1000);
    config.addresses.push(ListenAddress::Tcp { host: "localhost".to_owned(), port: 0 });
    config.addresses.push(ListenAddress::Unix(folder.path().join("mux.sock")));
    change(&mut config);
    Listener::bind(&config, Handed::none()).await.unwrap()
}

fn ports(listener: &Listener) -> Vec<SocketAddr> {
    let port = |bound: &Bound| match bound {
        Bound::Tcp { address, .. } => Some(*address),
        Bound::Unix(_) => None,
    };
    listener.bound().filter_map(port).collect()
}

async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), path: &str, end: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).ends_with(end) {
            if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    timeout(DEADLINE, reading).await.unwrap();
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn every_socket_is_served_and_knows_who_comes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mux.sock");
    let listener = bind_three(&folder, |_| {}).await;
    let ports = ports(&listener);
    assert_eq!(listener.bound().count(), 3);
    let served = serve_by(listener);
    for port in ports {
        let answer = ask(&mut TcpStream::connect(port).await.unwrap(), "/", &port.to_string()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    let user = format!("uid {}", geteuid().as_raw());
    let mut local = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut local, "/", &user).await.ends_with(&user));
    served.stop.drain.cancel();
    timeout(DEADLINE, served.accepting).await.unwrap().unwrap();
    assert!(!path.exists());
    // It was idle, and is closed.
    assert_eq!(timeout(DEADLINE, local.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
}

#[tokio::test]
async fn http2_is_spoken_on_a_unix_socket_too() {
    let folder = TempDir::new().unwrap();
    let served = serve_by(bind_three(&folder, |_| {}).await);
    let stream = UnixStream::connect(folder.path().join("mux.sock")).await.unwrap();
    let executor = Tracked(served.connections.clone());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    served.connections.spawn(connection);
    let request = Request::get("http://localhost/").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status().as_u16(), 200);
    served.stop.drain.cancel();
    served.connections.close();
    timeout(DEADLINE, served.connections.wait()).await.unwrap();
}

#[tokio::test]
async fn the_most_connections_are_those_of_all_sockets_together() {
    let folder = TempDir::new().unwrap();
    let one = |config: &mut ListenConfig| config.connections_max = NonZeroUsize::MIN;
    let listener = bind_three(&folder, one).await;
    let port = ports(&listener)[1];
    let served = serve_by(listener);
    let mut first = TcpStream::connect(port).await.unwrap();
    request(&mut first, "/slow").await;
    served.reached.notified().await;
    // Connected by the kernel, and taken by nobody.
    let mut second = UnixStream::connect(folder.path().join("mux.sock")).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(timeout(Duration::from_millis(100), second.readable()).await.is_err());
    drop(first);
    timeout(DEADLINE, second.readable()).await.unwrap().unwrap();
    served.stop.drain.cancel();
    timeout(DEADLINE, served.accepting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_user_of_this_machine_has_so_many_connections_as_an_address() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mux.sock");
    let listener = bind_three(&folder, |config| config.connections_per_address_max = NonZeroUsize::MIN).await;
    let port = ports(&listener)[0];
    let _served = serve_by(listener);
    let user = format!("uid {}", geteuid().as_raw());
    let mut first = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut first, "/", &user).await.ends_with(&user));
    let mut second = UnixStream::connect(&path).await.unwrap();
    assert_eq!(timeout(DEADLINE, second.read(&mut [0])).await.unwrap().unwrap_or(0), 0);
    // An address is another count.
    let mut other = TcpStream::connect(port).await.unwrap();
    assert!(ask(&mut other, "/", &port.to_string()).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn if_one_cannot_be_had_none_is_kept() {
    let folder = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = listen("127.0.0.1", 0, 10);
    config.addresses = vec![
        ListenAddress::Unix(folder.path().join("mux.sock")),
        ListenAddress::Tcp { host: "127.0.0.1".to_owned(), port: taken.local_addr().unwrap().port() },
    ];
    let error = Listener::bind(&config, Handed::none()).await.unwrap_err();
    assert!(error.to_string().ends_with("is in use"), "{error}");
    assert!(!folder.path().join("mux.sock").exists());
    config.addresses = vec![ListenAddress::Handed(Some("web".to_owned()))];
    let error = Listener::bind(&config, Handed::none()).await.unwrap_err();
    assert_eq!(error.to_string(), "of the sockets that systemd has opened, there is none with the name web");
    assert_eq!(error.exit_code(), 69);
}

#[tokio::test]
async fn all_of_ipv6_is_not_in_the_way_of_an_ipv4_address_on_the_same_port() {
    if std::net::TcpListener::bind("[::]:0").is_err() {
        // There is no IPv6 here.
        return;
    }
    let both = async || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = listen("127.0.0.1", free, 10);
        config.addresses.insert(0, ListenAddress::Tcp { host: "::".to_owned(), port: free });
        Listener::bind(&config, Handed::none()).await.map(|listener| ports(&listener).len())
    };
    // Somebody may have taken the port meanwhile, but not each time.
    let mut bound = both().await;
    for _ in 0..10 {
        if bound.is_err() {
            bound = both().await;
        }
    }
    assert_eq!(bound.unwrap(), 2);
}
