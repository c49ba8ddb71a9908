"""The emulator's state on disk has how far each function has come with a stream, but not the stream.
After a start on that state nothing would be delivered until the new stream is as long as the old
one. With this patch each function begins at the start of the new stream.
"""

from ministack.services import lambda_svc

restore_positions = lambda_svc._restore_esm_positions


def restore_all_but_streams(positions, kept):
    if positions is not lambda_svc._dynamodb_stream_positions:
        restore_positions(positions, kept)


def apply():
    lambda_svc._restore_esm_positions = restore_all_but_streams
