"""The JSON bodies of the REST API, in three modules.

    arrays      JSON values as numpy arrays, without an object of Python for each of many numbers
    requests    the body of a request as named arrays, or as tf.Examples
    replies     named arrays, and the messages about models, as the body of a reply

TensorFlow Serving decides what is accepted and with which status it is refused; the messages are
this server's own. Of the server only `errors` is imported here. `backend` calls and HTTP are for
`serving.server.rest`.
"""
