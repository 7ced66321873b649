//! A router that speaks as much UPnP as a program needs that wants its port forwarded.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// Where SSDP asks for routers.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const PORT: u16 = 1900;

const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// Answers searches on this address until the runtime ends. What it is asked to forward comes out: the
/// external port and the address inside.
pub(crate) async fn start(addr: Ipv4Addr, public: Ipv4Addr) -> mpsc::Receiver<(u16, String)> {
    let (sender, forwarded) = mpsc::channel(16);
    let web = TcpListener::bind((addr, 0)).await.unwrap();
    let location = format!("http://{}/device.xml", web.local_addr().unwrap());

    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())
        .unwrap();
    socket.join_multicast_v4(&GROUP, &addr).unwrap();
    let searches = UdpSocket::from_std(socket.into()).unwrap();
    tokio::spawn(async move {
        let mut search = [0; 2048];
        loop {
            let (length, from) = searches.recv_from(&mut search).await.unwrap();
            assert!(search[..length].starts_with(b"M-SEARCH"));
            let answer = format!(
                "HTTP/1.1 200 OK\r\nST: {SERVICE}\r\nUSN: uuid:1\r\nLOCATION: {location}\r\n\r\n"
            );
            searches.send_to(answer.as_bytes(), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = web.accept().await.unwrap();
            let sender = sender.clone();
            tokio::spawn(serve(stream, public, sender));
        }
    });
    forwarded
}

async fn serve(mut stream: TcpStream, public: Ipv4Addr, forwarded: mpsc::Sender<(u16, String)>) {
    let request = read_request(&mut stream).await;
    let body = if request.starts_with("GET /device.xml") {
        format!(
            "<root><device><serviceList><service><serviceType>{SERVICE}</serviceType>\
             <SCPDURL>/service.xml</SCPDURL><controlURL>/control</controlURL></service>\
             </serviceList></device></root>"
        )
    } else if request.starts_with("GET /service.xml") {
        let argument =
            |name| format!("<argument><name>{name}</name><direction>in</direction></argument>");
        let arguments: String = [
            "NewRemoteHost",
            "NewExternalPort",
            "NewProtocol",
            "NewInternalPort",
            "NewInternalClient",
            "NewEnabled",
            "NewPortMappingDescription",
            "NewLeaseDuration",
        ]
        .map(argument)
        .concat();
        format!(
            "<scpd><actionList><action><name>AddPortMapping</name><argumentList>{arguments}\
             </argumentList></action></actionList></scpd>"
        )
    } else if request.contains("GetExternalIPAddress") {
        answer(
            "GetExternalIPAddress",
            &format!("<NewExternalIPAddress>{public}</NewExternalIPAddress>"),
        )
    } else if request.contains("AddPortMapping") {
        let port = element(&request, "NewExternalPort").parse().unwrap();
        let inside = format!(
            "{}:{}",
            element(&request, "NewInternalClient"),
            element(&request, "NewInternalPort")
        );
        let _ = forwarded.send((port, inside)).await;
        answer("AddPortMapping", "")
    } else {
        panic!("a router is not asked for this: {request}");
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse().unwrap());
            if body.len() >= length {
                return String::from_utf8(bytes).unwrap();
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "{text}");
    }
}

fn answer(action: &str, inner: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
         <u:{action}Response xmlns:u=\"{SERVICE}\">{inner}</u:{action}Response>\
         </s:Body></s:Envelope>"
    )
}

fn element<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
    rest.split_once("</").unwrap().0
}
