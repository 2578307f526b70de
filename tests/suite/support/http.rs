//! A small HTTP server with scripted replies, invalid ones included, that records its requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The reply to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with this status and body.
    Status(u16, String),
    /// As `Status`, with further headers.
    Headers(u16, Vec<(String, String)>, String),
    /// Does not reply until the test ends.
    Stall,
    /// 200 with a body that is begun and never ended.
    StallInBody,
    /// Closes the connection instead of answering.
    Close,
    /// Closes the connection within the body.
    CloseInBody,
    /// 200 with an endless body.
    Flood,
    /// Endless headers.
    FloodOfHeaders,
    /// Not HTTP.
    Gibberish,
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: impl Into<String>) -> Reply {
        Reply::Status(200, body.into())
    }

    /// Another status with an empty body.
    pub fn status(status: u16) -> Reply {
        Reply::Status(status, String::new())
    }

    /// A redirect to `location`.
    pub fn redirect(status: u16, location: &str) -> Reply {
        let location = ("Location".to_owned(), location.to_owned());
        Reply::Headers(status, vec![location], String::new())
    }
}

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Received {
    /// The header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body, read as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

type Answering = dyn Fn(&Received) -> Reply + Send + Sync;

/// The server, stopped after the test.
pub struct HttpServer {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Box<Answering>,
    received: Mutex<Vec<Received>>,
    over: AtomicBool,
}

impl HttpServer {
    /// Answers each request with the next of `replies`, then with 200.
    pub fn with(replies: impl IntoIterator<Item = Reply>) -> HttpServer {
        let mut replies: Vec<Reply> = replies.into_iter().collect();
        replies.reverse();
        let replies = Mutex::new(replies);
        HttpServer::answering(move |_| {
            let next = replies.lock().expect("no test thread panics").pop();
            next.unwrap_or_else(|| Reply::ok("ok"))
        })
    }

    /// Answers with the result of `answer`.
    pub fn answering(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> HttpServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            received: Mutex::new(Vec::new()),
            over: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if served.over.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&served);
                if let Ok(stream) = stream {
                    // Some tests close the connection early.
                    thread::spawn(move || drop(shared.serve(stream)));
                }
            }
        });
        HttpServer { port, shared }
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The requests so far, in order.
    pub fn received(&self) -> Vec<Received> {
        let received = self.shared.received.lock();
        received.expect("no test thread panics").clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // It waits for the next connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let received = read_request(&stream)?;
        let reply = (self.answer)(&received);
        let log = self.received.lock();
        log.expect("no test thread panics").push(received);
        match reply {
            Reply::Status(status, body) => answer(&mut stream, status, &[], &body)?,
            Reply::Headers(status, headers, body) => {
                answer(&mut stream, status, &headers, &body)?;
            }
            Reply::Stall => self.wait(),
            Reply::StallInBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")?;
                self.wait();
            }
            Reply::Close => stream.shutdown(Shutdown::Both)?,
            Reply::CloseInBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")?;
            }
            Reply::Flood => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                while !self.over.load(Ordering::Relaxed) {
                    stream.write_all(&[b' '; 8192])?;
                }
            }
            Reply::FloodOfHeaders => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                while !self.over.load(Ordering::Relaxed) {
                    stream.write_all(b"X-More: and more and more\r\n")?;
                }
            }
            Reply::Gibberish => stream.write_all(b"220 mail.example.com ESMTP\r\n")?,
        }
        Ok(())
    }

    fn wait(&self) {
        while !self.over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut received = Received {
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
        body: String::new(),
    };
    let length = received.header("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    received.body = String::from_utf8_lossy(&body).into_owned();
    Ok(received)
}

fn answer(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &str,
) -> std::io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())
}
