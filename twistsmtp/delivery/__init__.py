"""Deliveries: where accepted mail goes. `twistsmtp.delivery.api` is the contract."""
