-- The events of the flights demo: every flight that left New York in 2013. All times are UTC.
-- The columns are explained in examples/flights/data/README.md.

CREATE SOURCE departures (
  flight_id BIGINT, carrier VARCHAR, flight_number INTEGER, tailnum VARCHAR, origin VARCHAR, dest VARCHAR,
  distance DOUBLE, dep_delay DOUBLE, scheduled_at TIMESTAMP, departed_at TIMESTAMP,
  PRIMARY KEY (flight_id)
) WITH (
  event_time = 'departed_at', allowed_lateness = '6 hours', history = 'all',
  batch  = 'examples/flights/data/departures.parquet',
  stream = 'kafka://departures?format=json'
);

-- What happened to a flight that departed at departed_at, and which nobody knew before arrived_at. Flights land in another
-- order than they leave in, up to twelve hours apart: that is no lateness of the pipeline, but it is allowed for here.
CREATE SOURCE arrivals (
  flight_id BIGINT, carrier VARCHAR, flight_number INTEGER, tailnum VARCHAR, origin VARCHAR, dest VARCHAR,
  arr_delay DOUBLE, air_time DOUBLE, departed_at TIMESTAMP, arrived_at TIMESTAMP,
  PRIMARY KEY (flight_id)
) WITH (
  event_time = 'departed_at', available_at = 'arrived_at', allowed_lateness = '24 hours', history = 'all',
  batch  = 'examples/flights/data/arrivals.parquet',
  stream = 'kafka://arrivals?format=json'
);

-- Flights that never departed, at the time at which they should have.
CREATE SOURCE cancellations (
  flight_id BIGINT, carrier VARCHAR, flight_number INTEGER, tailnum VARCHAR, origin VARCHAR, dest VARCHAR,
  scheduled_at TIMESTAMP,
  PRIMARY KEY (flight_id)
) WITH (
  event_time = 'scheduled_at', allowed_lateness = '6 hours', history = 'all',
  batch  = 'examples/flights/data/cancellations.parquet',
  stream = 'kafka://cancellations?format=json'
);

-- Hourly observations at the three airports of departure, published an hour later.
CREATE SOURCE weather (
  origin VARCHAR, observed_at TIMESTAMP, temp DOUBLE, dewp DOUBLE, humid DOUBLE, wind_dir DOUBLE, wind_speed DOUBLE,
  wind_gust DOUBLE, precip DOUBLE, pressure DOUBLE, visib DOUBLE,
  PRIMARY KEY (origin, observed_at)
) WITH (
  event_time = 'observed_at', available_at = 'observed_at + INTERVAL ''1 hour''', allowed_lateness = '6 hours', history = 'all',
  batch  = 'examples/flights/data/weather.parquet',
  stream = 'kafka://weather?format=json'
);
