CREATE SOURCE a (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', batch = '', stream = 'kafak://x');
CREATE SOURCE b (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', batch = ['a.parquet', 'ftp://x/y.csv'], csv_delimiter = '"');
CREATE SOURCE c (id BIGINT PRIMARY KEY, at TIMESTAMP) WITH (event_time = 'at', batch = 'a', batch_format = 'parquet', csv_null = 'NA');
