"""Attachments saved to files, in a folder for each message: attachments.py FOLDER [ENDPOINT]"""

import os
import re
import sys
from functools import partial
from tempfile import TemporaryDirectory

from twistsmtp import Callback, Mail, Refusal, Reply, SMTPFactory, serve

TOO_MANY = Reply(552, "5.3.4", "A message has at most 50 attachments")


def save(folder: str, mail: Mail) -> None:
    """Save all of them, or none."""
    parts = [part for part in mail.email.walk() if part.is_attachment() and not part.is_multipart()]
    if len(parts) > 50:
        raise Refusal(TOO_MANY)
    with TemporaryDirectory(dir=folder, prefix=".", ignore_cleanup_errors=True) as draft:
        for number, part in enumerate(parts):
            # What a client calls it may be anything, as "../../etc/passwd".
            name = re.sub(r"[^A-Za-z0-9._-]", "_", part.get_filename() or "attachment")[-100:]
            with open(f"{draft}/{number:02}-{name}", "xb") as file:
                file.write(bytes(part.get_payload(decode=True)))
        os.rename(draft, f"{folder}/{mail.envelope.id}")
    os.sync()  # what is taken survives a power cut


if __name__ == "__main__":
    folder, *endpoint = sys.argv[1:]
    serve(SMTPFactory(Callback(partial(save, folder), in_thread=True)), *endpoint)
