//! Proxies that the environment names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::support::Engine::Sqlite;
use crate::support::http::{HttpServer, Received};
use crate::support::{Run, TestDatabase};

/// A channel on another machine, by plain HTTP.
fn database() -> TestDatabase {
    let db = TestDatabase::migrated(Sqlite);
    let channel = [
        "alerts",
        "channel",
        "add",
        "desk",
        "webhook",
        "--allow-insecure-http",
        "--url",
        "http://desk.example.invalid:8080/hook?team=a",
    ];
    db.usagectl(channel).run().success();
    db
}

fn test(db: &TestDatabase, environment: &[(&str, &str)]) -> Run {
    let mut program = db.usagectl(["alerts", "channel", "test", "desk"]);
    for (name, value) in environment {
        program = program.env(name, value);
    }
    program.run()
}

fn only(server: &HttpServer) -> Received {
    let mut received = server.received();
    assert_eq!(received.len(), 1, "{received:?}");
    received.remove(0)
}

#[test]
fn http_proxy_gets_the_request_in_absolute_form() {
    let db = database();
    let proxy = HttpServer::with([]);
    let address = proxy.url("").replace("http://", "http://me:s3cret@");
    let run = test(&db, &[("http_proxy", &address)]).success();
    assert!(!format!("{run:?}").contains("s3cret"));
    let received = only(&proxy);
    let path = "http://desk.example.invalid:8080/hook?team=a";
    assert_eq!((&received.method[..], &received.path[..]), ("POST", path));
    assert_eq!(received.header("host"), Some("desk.example.invalid:8080"));
    // me:s3cret
    let login = Some("Basic bWU6czNjcmV0");
    assert_eq!(received.header("proxy-authorization"), login);
    assert_eq!(received.json()["alert_type"], "TEST");
}

#[test]
fn proxy_is_not_used_for_another_scheme_or_an_excluded_host() {
    let db = database();
    let proxy = HttpServer::with([]);
    let url = proxy.url("");
    let all = ("ALL_PROXY", url.as_str());
    for environment in [
        &[("https_proxy", url.as_str())][..],
        &[("HTTP_PROXY", url.as_str())],
        &[all, ("NO_PROXY", "example.invalid")],
        &[all, ("no_proxy", "example.invalid:8080"), ("NO_PROXY", "")],
    ] {
        let run = test(&db, environment);
        assert_eq!(run.code, 12, "{environment:?}: {}", run.snapshot());
    }
    assert!(proxy.received().is_empty());
    test(&db, &[all, ("NO_PROXY", "example.invalid:80")]).success();
    assert_eq!(proxy.received().len(), 1);
}

#[test]
fn unusable_proxy_is_an_error_that_names_the_variable() {
    let db = database();
    let refused = test(&db, &[("http_proxy", "http://127.0.0.1:1")]);
    let message = "Connection refused (os error 111), through the proxy in http_proxy";
    assert!(refused.stderr.contains(message), "{}", refused.snapshot());
    for address in ["ftp://s3cret:21", "http://"] {
        let run = test(&db, &[("ALL_PROXY", address)]);
        assert_eq!(run.code, 12, "{}", run.snapshot());
        let message = "cannot use the proxy in ALL_PROXY: expected http://HOST:PORT";
        assert!(run.stderr.contains(message), "{}", run.snapshot());
        assert!(!run.stderr.contains("s3cret"), "{}", run.snapshot());
    }
}

/// Serves one connection of a SOCKS5 client that resolves no names, and returns the host and port it asked for.
fn serve_socks(listener: &TcpListener, to: &str) -> std::io::Result<(String, u16)> {
    let (mut client, _) = listener.accept()?;
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    client.read_exact(&mut vec![0; greeting[1].into()])?;
    client.write_all(&[5, 0])?;
    // Version, CONNECT, reserved, kind of address (3: a name), its length.
    let mut head = [0; 5];
    client.read_exact(&mut head)?;
    assert_eq!(head[..4], [5, 1, 0, 3]);
    let mut name = vec![0; head[4].into()];
    client.read_exact(&mut name)?;
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    let mut server = TcpStream::connect(to)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    std::io::copy(&mut server, &mut client)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    Ok((name, u16::from_be_bytes(port)))
}

#[test]
fn socks_proxy_is_used() {
    let db = database();
    let server = HttpServer::with([]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("socks5h://{}", listener.local_addr().unwrap());
    let to = server.url("").replace("http://", "");
    let socks = thread::spawn(move || serve_socks(&listener, &to).unwrap());
    test(&db, &[("all_proxy", &address)]).success();
    assert_eq!(
        socks.join().unwrap(),
        ("desk.example.invalid".to_owned(), 8080)
    );
    assert_eq!(only(&server).path, "/hook?team=a");
}
