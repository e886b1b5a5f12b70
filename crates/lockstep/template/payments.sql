-- What features describe, and the events they are made of.

CREATE ENTITY card (card VARCHAR);

CREATE SOURCE payments (
  payment_id BIGINT, card VARCHAR, merchant VARCHAR, country VARCHAR, amount DOUBLE, paid_at TIMESTAMP,
  PRIMARY KEY (payment_id)
) WITH (
  event_time = 'paid_at', allowed_lateness = '1 hour', history = 'all',
  batch  = 'data/payments.csv',
  stream = 'data/new_payments.ndjson'
);
