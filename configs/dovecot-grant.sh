#!/bin/sh
# POP before SMTP at the checkpoint: whoever has fetched mail may use port 25 for 30 minutes.
#
# A post-login script for Dovecot (https://doc.dovecot.org, "Post-login scripting"); Dovecot sets $USER and $IP.
# In /etc/dovecot/conf.d/10-master.conf:
#
#     service pop3 {
#       executable = pop3 pop3-postlogin
#     }
#     service pop3-postlogin {
#       executable = script-login /usr/share/sekisho/dovecot-grant.sh
#       user = sekisho
#       unix_listener pop3-postlogin {
#       }
#     }
#
# The script runs as that user, who must be root, the daemon's user, or have the daemon's group as its own. Where the
# checkpoint is another host than the mail server, SEKISHO names a program that reaches it (ssh with a forced command).
# Mail is fetched whatever becomes of the grant: what goes wrong stands in Dovecot's log.

if [ -n "$IP" ]; then
    timeout 5 "${SEKISHO:-sekisho}" grant "$IP" --for "${SEKISHO_GRANT_FOR:-30m}" --reason "pop3:$USER" >/dev/null ||
        echo "sekisho gave $IP ($USER) no grant" >&2
fi
exec "$@"
