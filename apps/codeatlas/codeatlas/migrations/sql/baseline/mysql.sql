CREATE TABLE atlas_projects (
    id BIGINT NOT NULL,
    name VARCHAR(200) NOT NULL,
    created_at TIMESTAMP(6) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_schema (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_sequences (
    name VARCHAR(40) NOT NULL,
    next_value BIGINT NOT NULL,
    PRIMARY KEY (name)
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_terms (
    file_id BIGINT NOT NULL,
    kind VARCHAR(1) NOT NULL,
    term VARCHAR(40) NOT NULL,
    project_id BIGINT NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY (file_id, kind, term)
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_repositories (
    id BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    root VARCHAR(700) NOT NULL,
    open_analysis_id BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT atlas_repositories_root UNIQUE (project_id, root),
    FOREIGN KEY(project_id) REFERENCES atlas_projects (id)
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_analyses (
    id BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    repository_id BIGINT NOT NULL,
    status VARCHAR(12) NOT NULL,
    owner VARCHAR(300) NOT NULL,
    started_at TIMESTAMP(6) NOT NULL,
    heartbeat_at TIMESTAMP(6) NOT NULL,
    finished_at TIMESTAMP(6) NULL,
    resumes INTEGER NOT NULL,
    files_found INTEGER NOT NULL,
    files_analysed INTEGER NOT NULL,
    files_unchanged INTEGER NOT NULL,
    files_removed INTEGER NOT NULL,
    files_failed INTEGER NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(project_id) REFERENCES atlas_projects (id),
    FOREIGN KEY(repository_id) REFERENCES atlas_repositories (id)
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_files (
    id BIGINT NOT NULL,
    project_id BIGINT NOT NULL,
    repository_id BIGINT NOT NULL,
    analysis_id BIGINT NOT NULL,
    path VARCHAR(500) NOT NULL,
    path_lower VARCHAR(500) NOT NULL,
    package VARCHAR(300) NOT NULL,
    language VARCHAR(20) NOT NULL,
    encoding VARCHAR(40) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    size_bytes BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    analyser INTEGER NOT NULL,
    status VARCHAR(12) NOT NULL,
    failure_line INTEGER NOT NULL,
    failure_message VARCHAR(500) NOT NULL,
    lines_total INTEGER NOT NULL,
    lines_code INTEGER NOT NULL,
    lines_comment INTEGER NOT NULL,
    lines_docstring INTEGER NOT NULL,
    lines_blank INTEGER NOT NULL,
    functions INTEGER NOT NULL,
    classes INTEGER NOT NULL,
    imports INTEGER NOT NULL,
    complexity_total INTEGER NOT NULL,
    complexity_max INTEGER NOT NULL,
    documentable INTEGER NOT NULL,
    documented INTEGER NOT NULL,
    findings INTEGER NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT atlas_files_path UNIQUE (repository_id, path),
    FOREIGN KEY(project_id) REFERENCES atlas_projects (id),
    FOREIGN KEY(repository_id) REFERENCES atlas_repositories (id),
    FOREIGN KEY(analysis_id) REFERENCES atlas_analyses (id)
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_metrics (
    analysis_id BIGINT NOT NULL,
    kind VARCHAR(20) NOT NULL,
    name VARCHAR(300) NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (analysis_id, kind, name),
    FOREIGN KEY(analysis_id) REFERENCES atlas_analyses (id) ON DELETE CASCADE
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_file_metrics (
    file_id BIGINT NOT NULL,
    analysis_id BIGINT NOT NULL,
    lines_code INTEGER NOT NULL,
    functions INTEGER NOT NULL,
    complexity_total INTEGER NOT NULL,
    complexity_max INTEGER NOT NULL,
    documentable INTEGER NOT NULL,
    documented INTEGER NOT NULL,
    findings INTEGER NOT NULL,
    PRIMARY KEY (file_id, analysis_id),
    FOREIGN KEY(file_id) REFERENCES atlas_files (id) ON DELETE CASCADE,
    FOREIGN KEY(analysis_id) REFERENCES atlas_analyses (id)
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_imports (
    file_id BIGINT NOT NULL,
    ordinal INTEGER NOT NULL,
    project_id BIGINT NOT NULL,
    module VARCHAR(300) NOT NULL,
    line INTEGER NOT NULL,
    PRIMARY KEY (file_id, ordinal),
    FOREIGN KEY(file_id) REFERENCES atlas_files (id) ON DELETE CASCADE
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_rule_results (
    file_id BIGINT NOT NULL,
    ordinal INTEGER NOT NULL,
    project_id BIGINT NOT NULL,
    rule VARCHAR(40) NOT NULL,
    severity VARCHAR(12) NOT NULL,
    line INTEGER NOT NULL,
    message VARCHAR(500) NOT NULL,
    PRIMARY KEY (file_id, ordinal),
    FOREIGN KEY(file_id) REFERENCES atlas_files (id) ON DELETE CASCADE
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE TABLE atlas_symbols (
    file_id BIGINT NOT NULL,
    ordinal INTEGER NOT NULL,
    project_id BIGINT NOT NULL,
    kind VARCHAR(12) NOT NULL,
    name VARCHAR(300) NOT NULL,
    search_name VARCHAR(100) NOT NULL,
    line INTEGER NOT NULL,
    line_end INTEGER NOT NULL,
    complexity INTEGER NOT NULL,
    parameters INTEGER NOT NULL,
    nesting INTEGER NOT NULL,
    documented BOOL NOT NULL,
    PRIMARY KEY (file_id, ordinal),
    FOREIGN KEY(file_id) REFERENCES atlas_files (id) ON DELETE CASCADE
)CHARSET=utf8mb4 ENGINE=InnoDB COLLATE utf8mb4_bin;

CREATE INDEX atlas_terms_search ON atlas_terms (project_id, kind, term, file_id, weight);

CREATE INDEX atlas_analyses_latest ON atlas_analyses (project_id, id);

CREATE INDEX atlas_analyses_status ON atlas_analyses (project_id, status, id);

CREATE INDEX ix_atlas_analyses_repository_id ON atlas_analyses (repository_id);

CREATE INDEX atlas_files_listed ON atlas_files (project_id, path, id);

CREATE INDEX atlas_files_package ON atlas_files (project_id, package);

CREATE INDEX ix_atlas_files_analysis_id ON atlas_files (analysis_id);

CREATE INDEX atlas_file_metrics_analysis ON atlas_file_metrics (analysis_id);

CREATE INDEX atlas_imports_module ON atlas_imports (project_id, module, file_id);

CREATE INDEX atlas_rule_results_rule ON atlas_rule_results (project_id, rule, file_id, ordinal);

CREATE INDEX atlas_symbols_complexity ON atlas_symbols (project_id, complexity, file_id, ordinal);

CREATE INDEX atlas_symbols_name ON atlas_symbols (project_id, search_name, file_id, ordinal);
