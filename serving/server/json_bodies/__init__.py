"""JSON bodies of the REST API, in three modules.

    arrays      JSON values as numpy arrays, without one Python object per number
    requests    the body of a request as named arrays, or as tf.Examples
    replies     named arrays, and messages about models, as the body of a response

Requests are accepted and refused, with the same status, as by TensorFlow Serving; the messages are
this server's own. Of the server, only `errors` is imported here. `serving.server.rest` handles HTTP
and calls to the backend.
"""
