"""The variable that names the folder of what all processes of a test run share."""

SHARED_FOLDER = "LEVIT_TESTS_SHARED"
