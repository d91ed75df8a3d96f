//! What is done about a client that takes nothing.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

/// How long a client may leave what was sent to it untaken. Whoever asks for blobs and reads none would else keep
/// connections, files and tasks for as long as it likes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Has the kernel break the connection when what was sent has not been acknowledged, or has found no room at the
/// client's, for so long (tcp(7), TCP_USER_TIMEOUT).
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn leave_after(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    let millis = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        leave_after(&stream, Duration::from_secs(1)).unwrap();
        let piece = vec![0; 1 << 20];
        let writing = async { while stream.write_all(&piece).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(60), writing).await.expect("the connection breaks");
    }
}
