//! Real mail: Postfix and Dovecot, each instance with configuration, queue and mailboxes of its own.
//!
//! | | 25 | 587 | 110 |
//! |---|---|---|---|
//! | the provider's server | for its own domain; to anywhere for who has just fetched mail (POP before SMTP) | to anywhere, with SMTP AUTH | POP3 |
//! | the world's server | for its own domain | to anywhere, with SMTP AUTH | POP3 |
//!
//! A customer may have a server of its own, as one who has not heard yet, and there is one at the filter: both hand all
//! mail on to the world's server.
//!
//! POP before SMTP: after a login, Dovecot has a script note the address that it came from in a table, and Postfix
//! relays for the addresses in that table. It works only where the server sees the customer's own address.

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::address::{CARRIER, DYNAMIC, Host, OWN, WORLD};
use super::daemon::argument;
use super::namespace::Namespace;
use super::{Lab, await_some, await_that};
use crate::binary::Finished;

/// A customer's name and password at both servers.
pub const USER: &str = "hanako";
/// See [`USER`].
pub const PASSWORD: &str = "kannon25";

/// A mail server.
pub struct MailServer {
    folder: PathBuf,
    /// Its domain.
    pub domain: &'static str,
}

/// What makes one.
struct Plan {
    name: &'static str,
    domain: &'static str,
    addresses: Vec<Host>,
    /// Where mail for other domains goes.
    onward: Option<IpAddr>,
}

impl Lab {
    /// Starts the provider's own mail server, which hands mail for others to the world's.
    pub fn own_mail_server(&self) -> MailServer {
        let plan =
            Plan { name: "own", domain: "provider.example", addresses: vec![OWN], onward: Some(WORLD[0]) };
        MailServer::start(&self.servers, &self.folder, &plan)
    }

    /// Starts the world's mail server: another provider and a mobile carrier at once, by address.
    pub fn world_mail_server(&self) -> MailServer {
        let plan = Plan {
            name: "world",
            domain: "elsewhere.example",
            addresses: vec![WORLD, CARRIER],
            onward: None,
        };
        MailServer::start(&self.internet, &self.folder, &plan)
    }

    /// Starts a mail server of a customer's own, which sends to the world's by itself.
    pub fn customers_mail_server(&self) -> MailServer {
        let (addresses, onward) = (vec![DYNAMIC], Some(WORLD[0]));
        let plan = Plan { name: "customer", domain: "customer.example", addresses, onward };
        MailServer::start(&self.subscriber, &self.folder, &plan)
    }

    /// Starts the filter's mail server at addresses of its own. It takes mail of anybody, and hands it to the world's.
    pub(super) fn filter_mail_server(&self, namespace: &Namespace, at: Host) -> MailServer {
        let plan =
            Plan { name: "filter", domain: "filter.example", addresses: vec![at], onward: Some(WORLD[0]) };
        MailServer::start(namespace, &self.folder, &plan)
    }
}

/// Number of a user, or of its group.
fn number(namespace: &Namespace, option: &str, user: &str) -> u32 {
    let printed = namespace.run("id", [option, user]);
    printed.trim().parse().unwrap_or_else(|_| panic!("id {option} {user}: {printed}"))
}

impl MailServer {
    fn start(namespace: &Namespace, lab: &Path, plan: &Plan) -> MailServer {
        let folder = lab.join(plan.name);
        let server = MailServer { folder, domain: plan.domain };
        let [own, group] = ["-u", "-g"].map(|option| number(namespace, option, "nobody"));
        let postfix = number(namespace, "-u", "postfix");
        for (name, owner) in [("etc", None), ("queue", None), ("data", Some(postfix)), ("box", Some(own))] {
            let path = server.folder.join(name);
            fs::create_dir_all(&path).expect("the lab's folder is writable");
            chown(&path, owner, None).expect("root may give files away");
        }
        server.write("etc/main.cf", &server.main(plan, own, group));
        server.write("etc/master.cf", MASTER);
        server.write("pop-before-smtp", "");
        server.write("dovecot.conf", &server.dovecot(own, group));
        server.write("users", &format!("{USER}:{{PLAIN}}{PASSWORD}\n"));
        let script = server.write("logged-in.sh", &server.script());
        fs::set_permissions(script, Permissions::from_mode(0o755)).expect("permissions of our own file");

        let etc = server.folder.join("etc");
        namespace.run("postmap", ["-c", argument(&etc), &server.table()]);
        // Postfix first: it makes the folder in its queue where Dovecot puts a socket.
        let log = |name: &str| server.folder.join(name).with_extension("log");
        namespace.start("postfix", ["-c", argument(&etc), "start"], &log("postfix-start"));
        namespace.start(
            "dovecot",
            ["-c", argument(&server.folder.join("dovecot.conf"))],
            &log("dovecot-start"),
        );
        for port in [25, 587, 110] {
            let at = SocketAddr::new(plan.addresses[0][0], port);
            await_that(&format!("{at} answers"), || namespace.enter(|| TcpStream::connect(at)).is_ok());
        }
        server
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// Postfix's name for the table of addresses that relaying is open to.
    fn table(&self) -> String {
        format!("hash:{}", argument(&self.folder.join("pop-before-smtp")))
    }

    fn main(&self, plan: &Plan, own: u32, group: u32) -> String {
        let (folder, domain, table) = (argument(&self.folder), plan.domain, self.table());
        let addresses: Vec<String> = plan.addresses.iter().flatten().map(IpAddr::to_string).collect();
        // Whoever is diverted to the filter is one of the provider's customers.
        let networks = if plan.name == "filter" { "0.0.0.0/0, [::]/0" } else { "" };
        let mut main = format!(
            "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = mail.{domain}
inet_interfaces = {}
inet_protocols = all

# No DNS in the lab.
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no

# Mail for this domain goes into one mailbox.
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/box
virtual_mailbox_maps = static:{USER}/
virtual_minimum_uid = 1
virtual_uid_maps = static:{own}
virtual_gid_maps = static:{group}

# Mail for others: for addresses that have just fetched mail, and for who has a password.
mynetworks = {networks}
smtpd_relay_restrictions = permit_mynetworks, check_client_access {table}, permit_sasl_authenticated,
  reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
",
            addresses.join(", ")
        );
        if let Some(onward) = plan.onward {
            let _ = writeln!(main, "default_transport = smtp:[{onward}]");
        }
        main
    }

    fn dovecot(&self, own: u32, group: u32) -> String {
        let folder = argument(&self.folder);
        format!(
            "base_dir = {folder}/dovecot
log_path = {folder}/dovecot.log
protocols = pop3
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:{folder}/box/%u
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={own} gid={group} home={folder}/box/%u
}}
# For Postfix.
service auth {{
  unix_listener {folder}/queue/private/auth {{
    mode = 0666
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    port = 110
  }}
}}
service pop3 {{
  executable = pop3 logged-in
}}
service logged-in {{
  executable = script-login {folder}/logged-in.sh
  user = root
  unix_listener logged-in {{
  }}
}}
"
        )
    }

    /// What runs when someone has logged in to fetch mail.
    fn script(&self) -> String {
        let (etc, table) = (self.folder.join("etc"), self.folder.join("pop-before-smtp"));
        let hook = self.folder.join("hook.sh");
        let hook = argument(&hook);
        format!(
            "#!/bin/sh\necho \"$IP OK\" >> {}\n/usr/sbin/postmap -c {} {}\n\
             if [ -x {hook} ]; then exec {hook} \"$@\"; fi\nexec \"$@\"\n",
            argument(&table),
            argument(&etc),
            self.table()
        )
    }

    /// From now on `configs/dovecot-grant.sh` runs when someone has logged in, and asks the lab's daemon.
    pub fn grant_at_login(&self, lab: &Lab) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/dovecot-grant.sh");
        let hook = format!(
            "#!/bin/sh\nexport SEKISHO={} SEKISHO_SOCKET={}\nexec {} \"$@\"\n",
            argument(crate::binary::sekisho()),
            argument(&lab.file("control.sock")),
            argument(&script)
        );
        let path = self.write("hook.sh", &hook);
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("permissions of our own file");
    }

    /// The addresses that relaying is open to.
    pub fn authorised(&self) -> String {
        fs::read_to_string(self.folder.join("pop-before-smtp")).unwrap_or_default()
    }

    /// The mails that have arrived.
    fn mails(&self) -> Vec<String> {
        let folders = ["new", "cur"].map(|name| self.folder.join("box").join(USER).join(name));
        let files = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
    }

    /// Waits until a mail of that subject has arrived, and gives it.
    pub fn await_mail(&self, subject: &str) -> String {
        let line = format!("Subject: {subject}\n");
        await_some(&format!("{} has got the mail {subject:?}", self.domain), || {
            self.mails().into_iter().find(|mail| mail.contains(&line))
        })
    }

    /// Waits until its log has a line with all of these; gives it.
    pub fn await_logged(&self, words: &[&str]) -> String {
        await_some(&format!("{}'s log has {words:?}", self.domain), || {
            let log = fs::read_to_string(self.folder.join("postfix.log")).unwrap_or_default();
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    }

    /// What `postqueue -p` prints.
    pub fn queue(&self, namespace: &Namespace) -> String {
        namespace.run("postqueue", ["-c", argument(&self.folder.join("etc")), "-p"])
    }

    /// Whether a mail of that subject has arrived.
    pub fn has_mail(&self, subject: &str) -> bool {
        let line = format!("Subject: {subject}\n");
        self.mails().iter().any(|mail| mail.contains(&line))
    }
}

/// Postfix's services: those that receive and deliver, and nothing for local users. On port 25 each connection has a
/// process of its own, since one that has the table of addresses open does not notice a change within the same second.
const MASTER: &str = "\
25        inet       n - n - - smtpd
  -o max_use=1
587       inet       n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
cleanup   unix       n - n - 0 cleanup
qmgr      unix       n - n 300 1 qmgr
rewrite   unix       - - n - - trivial-rewrite
bounce    unix       - - n - 0 bounce
defer     unix       - - n - 0 bounce
trace     unix       - - n - 0 bounce
smtp      unix       - - n - - smtp
error     unix       - - n - - error
retry     unix       - - n - - error
showq     unix       n - n - - showq
virtual   unix       - n n - - virtual
anvil     unix       - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
";

/// A mail that a customer sends with swaks.
#[derive(Clone, Debug)]
pub struct Letter<'a> {
    /// The address that it is sent from.
    pub from: IpAddr,
    /// The server that it is handed to.
    pub server: IpAddr,
    /// The port there.
    pub port: u16,
    /// Whether with SMTP AUTH.
    pub with_password: bool,
    /// The domain that it is for.
    pub domain: &'a str,
    /// Its subject.
    pub subject: &'a str,
}

/// How a server took a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// It took it.
    Over,
    /// It did not take it for that recipient.
    Declined,
    /// There was no connection: refused at once.
    Refused,
    /// There was no connection: an ICMP error said at once that it is prohibited.
    Prohibited,
    /// There was no connection: nothing came back.
    Silent,
}

impl Lab {
    /// Hands a mail over.
    ///
    /// # Panics
    /// When it comes to something else than any of [`Handed`].
    pub fn hand_over(&self, letter: &Letter<'_>) -> Handed {
        let Letter { from, server, port, with_password, domain, subject } = letter;
        let recipient = format!("someone@{domain}");
        let subject = format!("Subject: {subject}");
        let (from, server, port) = (from.to_string(), server.to_string(), port.to_string());
        let mut swaks = self.subscriber.command("swaks");
        swaks.arg(if server.contains(':') { "-6" } else { "-4" });
        swaks.args(["--server", &server, "--port", &port, "--local-interface", &from, "--timeout", "15"]);
        swaks.args(["--helo", "customer.example", "--from", "hanako@provider.example", "--to", &recipient]);
        swaks.args(["--header", &subject, "--body", "関所"]);
        if *with_password {
            swaks.args(["--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD]);
        }
        let output = swaks.output().expect("swaks starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        match output.status.code() {
            Some(0) => Handed::Over,
            Some(24) => Handed::Declined,
            Some(2) if said.contains("Connection refused") => Handed::Refused,
            // What Linux makes of ICMP 3/13, and of ICMPv6 1/1.
            Some(2) if said.contains("No route to host") || said.contains("Permission denied") => {
                Handed::Prohibited
            }
            Some(2) if said.contains("timed out") || said.contains("timeout") => Handed::Silent,
            _ => panic!("swaks: {}\n{said}", output.status),
        }
    }

    /// Fetches a customer's mail list over POP3 with curl.
    pub fn fetch_mail(&self, from: IpAddr, server: IpAddr) -> Finished {
        let host = if server.is_ipv6() { format!("[{server}]") } else { server.to_string() };
        let (from, login) = (from.to_string(), format!("{USER}:{PASSWORD}"));
        let url = format!("pop3://{host}/");
        let arguments =
            ["--silent", "--show-error", "--max-time", "30", "--interface", &from, "--user", &login, &url];
        let output = self.subscriber.output("curl", arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}
