"""The server of the e-CROSS Merchant Integration API, with the commands of its operators."""
