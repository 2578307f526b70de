#!/bin/sh
# Sends a notice by mail. Requires a sendmail program, which msmtp, Postfix and others provide.
#
#   usagectl alerts channel add mail exec --pass-env MAIL_TO --pass-env MAIL_FROM -- /srv/app/mail.sh
#
# MAIL_TO     recipients, separated by commas
# MAIL_FROM   sender (default: usagectl)
# SENDMAIL    path of sendmail (default: found in PATH or /usr/sbin), to be passed with --pass-env too
set -eu

PATH=$PATH:/usr/sbin:/usr/lib
: "${MAIL_TO:?set it to the recipients}"

# A header is one line: a line break in a name must not start another header.
one_line() {
    printf '%s' "$1" | tr '\r\n' '  '
}

# Every attempt has the same id, so that mail programs can drop a repeated message.
id=$(one_line "$USAGECTL_NOTICE_KEY" | tr -cd 'A-Za-z0-9-')

{
    printf 'From: %s\n' "$(one_line "${MAIL_FROM:-usagectl}")"
    printf 'To: %s\n' "$(one_line "$MAIL_TO")"
    printf 'Subject: [%s] %s\n' "$USAGECTL_NOTICE_SEVERITY" "$(one_line "$USAGECTL_NOTICE_SUMMARY")"
    printf 'Message-ID: <%s@usagectl.invalid>\n' "$id"
    printf 'Auto-Submitted: auto-generated\n'
    printf 'MIME-Version: 1.0\n'
    printf 'Content-Type: text/plain; charset=utf-8\n'
    printf 'Content-Transfer-Encoding: 8bit\n'
    printf '\n'
    printf '%s\n\n' "$USAGECTL_NOTICE_SUMMARY"
    printf 'API:       %s\n' "$USAGECTL_NOTICE_API"
    printf 'Kind:      %s\n' "$USAGECTL_NOTICE_KIND"
    printf 'Value:     %s\n' "${USAGECTL_NOTICE_VALUE:-unknown}"
    printf 'Threshold: %s\n' "${USAGECTL_NOTICE_THRESHOLD:-unknown}"
    printf 'Episode:   %s\n' "$USAGECTL_NOTICE_EPISODE"
} | "${SENDMAIL:-sendmail}" -t -i
