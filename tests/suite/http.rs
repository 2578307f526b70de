//! The HTTP client against faulty servers.

use std::time::{Duration, Instant};

use usagectl::http::{Client, Error, Limit, Policy, Request, Response, Url};

use crate::support::http::{HttpServer, Reply};

fn impatient(response: Limit) -> Client {
    Client::new(Policy {
        total: Duration::from_millis(400),
        response,
        ..Policy::default()
    })
}

fn get(client: &Client, server: &HttpServer) -> Result<Response, Error> {
    let url = Url::parse(&server.url("/a?token=s3cret")).unwrap();
    client.send(Request::get(url))
}

#[test]
fn answer_is_complete_for_any_status() {
    let headers = vec![("Retry-After".to_owned(), "7".to_owned())];
    let server = HttpServer::with([Reply::Headers(503, headers, "busy".to_owned())]);
    let url = Url::parse(&server.url("/a?b=c")).unwrap();
    let request = Request::post_json(url, b"{}".to_vec()).header("X-More", "1");
    let answer = impatient(Limit::Whole(100)).send(request).unwrap();
    assert_eq!((answer.status, answer.is_success()), (503, false));
    assert_eq!(
        (answer.header("retry-after"), &answer.body[..]),
        (Some("7"), &b"busy"[..])
    );
    let [received] = &server.received()[..] else {
        panic!()
    };
    assert_eq!(
        (&received.method[..], &received.path[..]),
        ("POST", "/a?b=c")
    );
    assert_eq!(
        (received.header("x-more"), &received.body[..]),
        (Some("1"), "{}")
    );
    assert_eq!(received.json(), serde_json::json!({}));
}

#[test]
fn faulty_server_is_an_error_within_the_time_limit_and_without_secrets() {
    let replies = [
        (Reply::Stall, "did not answer within 0.4 s"),
        (Reply::StallInBody, "did not answer within 0.4 s"),
        (Reply::Close, "cannot talk to"),
        (Reply::CloseInBody, "cannot talk to"),
        (Reply::Flood, "answered with more than 1000 bytes"),
        (Reply::FloodOfHeaders, "does not answer in HTTP"),
        (Reply::Gibberish, "does not answer in HTTP"),
        (
            Reply::redirect(302, "https://127.0.0.2/s3cret"),
            "redirects (302) to https://127.0.0.2, which is not followed: give the URL of the target",
        ),
        (
            Reply::redirect(302, "file:///etc/passwd"),
            "redirects (302) to an address that is not a URL of http or https",
        ),
    ];
    let client = impatient(Limit::Whole(1000));
    for (reply, expected) in replies {
        let server = HttpServer::with([reply.clone()]);
        let begun = Instant::now();
        let message = get(&client, &server).unwrap_err().to_string();
        assert!(message.contains(expected), "{reply:?}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{reply:?}");
    }
}

#[test]
fn body_is_ignored_where_only_the_status_counts() {
    let client = impatient(Limit::Beginning(10));
    for reply in [Reply::Flood, Reply::StallInBody, Reply::CloseInBody] {
        let server = HttpServer::with([reply.clone()]);
        let answer = get(&client, &server).unwrap();
        assert!(answer.is_success() && answer.body.len() <= 10, "{reply:?}");
    }
}

#[test]
fn redirect_is_followed_within_one_origin_without_losing_a_body() {
    let client = impatient(Limit::Whole(1000));
    let server = HttpServer::with([Reply::redirect(301, "/b"), Reply::status(404)]);
    assert_eq!(get(&client, &server).unwrap().status, 404);
    assert_eq!(server.received()[1].path, "/b");

    let server = HttpServer::with([Reply::redirect(307, "/b"), Reply::redirect(302, "/c")]);
    let url = Url::parse(&server.url("/a")).unwrap();
    let lost = client.send(Request::post_json(url, b"{}".to_vec()));
    let message = lost.unwrap_err().to_string();
    assert!(
        message.contains("redirects (302) a request with a body so that the body is lost"),
        "{message}"
    );
    let received = server.received();
    assert_eq!((&received[1].path[..], &received[1].body[..]), ("/b", "{}"));

    let server = HttpServer::answering(|_| Reply::redirect(302, "/a"));
    let looped = get(&client, &server);
    let message = looped.unwrap_err().to_string();
    assert!(
        message.ends_with("redirects more than 5 times"),
        "{message}"
    );
    assert_eq!(server.received().len(), 6);
}

#[test]
fn refused_connection_is_reported() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
    let message = impatient(Limit::Whole(1))
        .send(Request::get(url))
        .unwrap_err()
        .to_string();
    assert!(message.contains("Connection refused"), "{message}");
}
