CREATE SOURCE s (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (
  event_time = 'at', allowed_lateness = '6 hoers', history = '1 month', max_ahead = '-1 hour', serving_lag = '5', expect_events_every = 10);
